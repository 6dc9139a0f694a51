// SPDX-License-Identifier: MIT OR Apache-2.0

// A program in Go that makes a volume, writes into it, clones it, reads that from the clone, and drops
// both.
//
//	go run . MOSAIC FOLDER
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: example MOSAIC FOLDER")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "example:", err)
		os.Exit(1)
	}
}

func run(name, at string) error {
	mosaic, err := Open(name)
	if err != nil {
		return err
	}
	defer mosaic.Close()
	if _, err := mosaic.Volume("go1"); !IsNotFound(err) {
		return fmt.Errorf("volume go1 of %v is there already", mosaic)
	}
	if err := mosaic.MakeFS("go1", 64<<20); err != nil {
		return err
	}
	volume, err := mosaic.Volume("go1")
	if err != nil {
		return err
	}
	defer volume.Close()
	greet := func() error {
		return os.WriteFile(filepath.Join(at, "greeting"), []byte("hello from Go\n"), 0o600)
	}
	if err := mounted(volume, at, greet); err != nil {
		return err
	}
	if err := volume.Clone("go2"); err != nil {
		return err
	}
	clone, err := mosaic.Volume("go2")
	if err != nil {
		return err
	}
	defer clone.Close()
	read := func() error {
		greeting, err := os.ReadFile(filepath.Join(at, "greeting"))
		fmt.Print(string(greeting))
		if err != nil {
			return err
		}
		return checkMount(at)
	}
	if err := mounted(clone, at, read); err != nil {
		return err
	}
	if err := volume.Drop(); err != nil {
		return err
	}
	names, err := mosaic.Volumes()
	if err != nil {
		return err
	}
	fmt.Println(mosaic, "has", names)
	return clone.Drop()
}

// checkMount looks whether files in a mounted volume can give rights, or be devices.
func checkMount(at string) error {
	const nosuid, nodev = 2, 4
	var mounted syscall.Statfs_t
	if err := syscall.Statfs(at, &mounted); err != nil {
		return err
	}
	if mounted.Flags&(nosuid|nodev) != nosuid|nodev {
		return fmt.Errorf("%s is mounted suid or dev", at)
	}
	return nil
}

// mounted does something while a volume is mounted.
func mounted(volume Volume, at string, do func() error) error {
	if err := volume.Mount(at); err != nil {
		return err
	}
	if err := do(); err != nil {
		// The first error is the one to tell.
		_ = volume.Umount(at)
		return err
	}
	return volume.Umount(at)
}
