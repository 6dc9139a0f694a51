// SPDX-License-Identifier: MIT OR Apache-2.0

package main

/*
#cgo pkg-config: mosaic
#include <stdlib.h>
#include <mosaic/mosaic.h>

// Exported below, which C sees without const.
int goVolume(struct mosaic_vol_info *info, uintptr_t handle);

// A handle is a number: it is a pointer to nothing, and must not be seen as one in Go.
static int eachVolume(const struct mosaic_vol_info *info, void *data)
{
	return goVolume((struct mosaic_vol_info *)info, (uintptr_t)data);
}

static int listVolumes(mosaic_t mosaic, uintptr_t handle)
{
	return mosaic_list_vols(mosaic, eachVolume, (void *)handle, 0);
}
*/
import "C"

import (
	"fmt"
	"runtime"
	"runtime/cgo"
	"unsafe"
)

// Error is what a call of the library failed with.
type Error struct {
	// Kind is one of the constants MOSAIC_ERR_...
	Kind int
	Text string
}

func (e *Error) Error() string { return e.Text }

// call runs a call of the library and gives its error. The last error is the thread's, so the
// goroutine must stay on its thread until it has read it.
func call(what func() C.int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if what() >= 0 {
		return nil
	}
	return &Error{int(C.mosaic_last_error_kind()), C.GoString(C.mosaic_last_error())}
}

// with gives a function a text as C wants it.
func with(text string, f func(*C.char) C.int) error {
	c := C.CString(text)
	defer C.free(unsafe.Pointer(c))
	return call(func() C.int { return f(c) })
}

// Mosaic is an open mosaic.
type Mosaic struct{ handle C.mosaic_t }

// Open opens a mosaic by its name.
func Open(name string) (m Mosaic, err error) {
	err = with(name, func(c *C.char) C.int {
		if m.handle = C.mosaic_open(c, 0); m.handle == nil {
			return -1
		}
		return 0
	})
	return m, err
}

// Close closes it; its volumes stay open.
func (m Mosaic) Close() { C.mosaic_close(m.handle) }

// MakeFS makes a volume with a file system of so many bytes.
func (m Mosaic) MakeFS(name string, bytes uint64) error {
	return with(name, func(c *C.char) C.int {
		return C.mosaic_make_vol_fs(m.handle, c, C.ulong(bytes/512), 0)
	})
}

// Volume opens one.
func (m Mosaic) Volume(name string) (v Volume, err error) {
	err = with(name, func(c *C.char) C.int {
		if v.handle = C.mosaic_open_vol(m.handle, c, 0); v.handle == nil {
			return -1
		}
		return 0
	})
	return v, err
}

// Volumes gives the names of all volumes.
func (m Mosaic) Volumes() (names []string, err error) {
	handle := cgo.NewHandle(&names)
	defer handle.Delete()
	err = call(func() C.int { return C.listVolumes(m.handle, C.uintptr_t(handle)) })
	return names, err
}

//export goVolume
func goVolume(info *C.struct_mosaic_vol_info, handle C.uintptr_t) C.int {
	names := cgo.Handle(handle).Value().(*[]string)
	*names = append(*names, C.GoString(info.name))
	return 0
}

// Volume is an open volume.
type Volume struct{ handle C.volume_t }

// Close closes it; what is mounted stays so.
func (v Volume) Close() { C.mosaic_close_vol(v.handle) }

// Mount mounts it at a folder, nosuid and nodev: who writes into the volume gets no rights by that.
func (v Volume) Mount(at string) error {
	return with(at, func(c *C.char) C.int { return C.mosaic_mount_vol_opts(v.handle, c, nil) })
}

// Umount takes that mount away.
func (v Volume) Umount(at string) error {
	return with(at, func(c *C.char) C.int { return C.mosaic_umount_vol(v.handle, c, 0) })
}

// Clone makes a volume of what this one holds now.
func (v Volume) Clone(name string) error {
	return with(name, func(c *C.char) C.int { return C.mosaic_clone_vol(v.handle, c, 0) })
}

// Drop destroys it.
func (v Volume) Drop() error {
	return call(func() C.int { return C.mosaic_drop_vol(v.handle, 0) })
}

// Size gives its size in bytes.
func (v Volume) Size() (uint64, error) {
	var blocks C.ulong
	err := call(func() C.int { return C.mosaic_get_vol_size(v.handle, &blocks) })
	return uint64(blocks) * 512, err
}

// IsNotFound says whether an error is that something is not there.
func IsNotFound(err error) bool {
	failure, ok := err.(*Error)
	return ok && failure.Kind == C.MOSAIC_ERR_NOT_FOUND
}

var _ fmt.Stringer = Mosaic{}

// String is the mosaic's name.
func (m Mosaic) String() string {
	length := C.mosaic_get_name(m.handle, nil, 0)
	if length < 0 {
		return "?"
	}
	buffer := make([]byte, length+1)
	C.mosaic_get_name(m.handle, (*C.char)(unsafe.Pointer(&buffer[0])), C.int(len(buffer)))
	return string(buffer[:length])
}
