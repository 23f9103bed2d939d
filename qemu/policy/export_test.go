package policy

// DeviceKinds are the devices that a target may have, for tests from outside.
func DeviceKinds() map[string]keys { return deviceValue.kinds }

// JudgesDeviceKey tells whether a property of devices has a rule of its own, for tests from outside.
func JudgesDeviceKey(name string) bool {
	_, ok := deviceKeys[name]
	return ok
}
