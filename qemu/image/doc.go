// Package image makes images with QEMU's own programs, and has them written and read: qemu-img, and a qemu-nbd for each image that is open.
//
//	Create   makes an image in a file that is there already, and empty
//	Open     serves one, to a client that is the server's only one
//
// What is started so is confined to the image and those below it, and ends with us.
package image
