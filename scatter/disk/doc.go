// Package disk is the local disks of VMs as regions of pages, like their RAM: read beside QEMU on their source (Images), with what their guests write
// meanwhile (Behind, Pusher), and written on their target (Store). Why so: docs/adr/0012.
package disk
