package target

import "errors"

var errAway = errors.New("away")
