package main

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vmdk"
)

const sector = 512

// The simulator counts the bytes that come by a lease and forgets them. A host keeps them as a flat disk, and gives them
// back as a stream: so does this.
func serveNfc(model *simulator.Model, service *simulator.Service) {
	service.HandleFunc("PUT /nfc/{lease}/{file}", func(w http.ResponseWriter, r *http.Request) { take(model, w, r) })
	service.HandleFunc("POST /nfc/{lease}/{file}", func(w http.ResponseWriter, r *http.Request) { take(model, w, r) })
	service.HandleFunc("GET /nfc/{lease}/{file}", func(w http.ResponseWriter, r *http.Request) { give(model, w, r) })
}

// The descriptor of a disk; names of disks are unique where this is used.
func find(model *simulator.Model, name string) (string, error) {
	for _, each := range model.Map().All("Datastore") {
		found := ""
		root := each.(*simulator.Datastore).Summary.Url
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.Name() == name {
				found = path
				return filepath.SkipAll
			}
			return nil
		})
		if err == nil && found != "" {
			return found, nil
		}
	}
	return "", fmt.Errorf("there is no %s", name)
}

func flat(descriptor string) string {
	return strings.TrimSuffix(descriptor, ".vmdk") + "-flat.vmdk"
}

func take(model *simulator.Model, w http.ResponseWriter, r *http.Request) {
	content, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	descriptor, err := find(model, r.PathValue("file"))
	if err == nil {
		err = decode(content, flat(descriptor))
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(content))
	simulator.ServeNFC(w, r)
}

// A stream-optimized disk: markers and compressed grains, one behind the other.
func decode(stream []byte, path string) error {
	if len(stream) < sector || string(stream[:4]) != "KDMV" || stream[10]&3 != 3 {
		return errors.New("this is no stream-optimized disk")
	}
	disk, err := os.Create(path)
	if err != nil {
		return err
	}
	defer disk.Close()
	for at := binary.LittleEndian.Uint64(stream[64:]) * sector; at+sector <= uint64(len(stream)); {
		value, size := binary.LittleEndian.Uint64(stream[at:]), uint64(binary.LittleEndian.Uint32(stream[at+8:]))
		if size == 0 {
			if value == 0 && binary.LittleEndian.Uint32(stream[at+12:]) == 0 {
				return nil
			}
			at += sector + value*sector
			continue
		}
		if at+12+size > uint64(len(stream)) {
			return errors.New("the stream ends in the middle of a grain")
		}
		grain, err := zlib.NewReader(bytes.NewReader(stream[at+12 : at+12+size]))
		if err != nil {
			return err
		}
		plain, err := io.ReadAll(grain)
		if err != nil {
			return err
		}
		if _, err := disk.WriteAt(plain, int64(value*sector)); err != nil {
			return err
		}
		at += (12 + size + sector - 1) / sector * sector
	}
	// Not every tool writes an end.
	return nil
}

// Whole before the first byte goes out, so that it is the disk at the moment of the request.
func give(model *simulator.Model, w http.ResponseWriter, r *http.Request) {
	content, err := encode(model, r.PathValue("file"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	_, _ = w.Write(content)
}

func encode(model *simulator.Model, name string) ([]byte, error) {
	path, err := find(model, name)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	descriptor, err := vmdk.ParseDescriptor(file)
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp("", "vcsim-nfc-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	disk, stream := filepath.Join(folder, "disk"), filepath.Join(folder, "stream")
	content, err := os.ReadFile(flat(path))
	if err == nil {
		err = os.WriteFile(disk, content, 0o600)
	}
	if err == nil {
		// The file is as long as what was ever written to it.
		err = os.Truncate(disk, descriptor.Capacity())
	}
	if err != nil {
		return nil, err
	}
	options := []string{"convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", disk, stream}
	if said, err := exec.Command("qemu-img", options...).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, said)
	}
	return os.ReadFile(stream)
}
