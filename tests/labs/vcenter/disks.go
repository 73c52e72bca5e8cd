package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/ioutil"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// What the library has no notion of: the content of disks, now and at each
// snapshot, and the change ids of changed block tracking.

type diskStore struct {
	mu       sync.Mutex
	now      map[string]*image             // by datastore path
	at       map[string]map[int32]*cutDisk // by snapshot, then device key
	versions map[string]*image             // by change id
	epoch    map[string]int                // by vm: reset by /lab/cbt
	count    int
	capacity int64
}

type cutDisk struct {
	image *image
	file  string
}

var disks = &diskStore{
	now: map[string]*image{}, at: map[string]map[int32]*cutDisk{},
	versions: map[string]*image{}, epoch: map[string]int{},
}

func virtualDisks(devices []types.BaseVirtualDevice) (out []*types.VirtualDisk) {
	for _, d := range devices {
		if disk, ok := d.(*types.VirtualDisk); ok {
			out = append(out, disk)
		}
	}
	return
}

func fileOf(d *types.VirtualDisk) string {
	if b, ok := d.Backing.(types.BaseVirtualDeviceFileBackingInfo); ok {
		return b.GetVirtualDeviceFileBackingInfo().FileName
	}
	return ""
}

// image returns the present content of a disk; call it with the lock held.
func (s *diskStore) image(d *types.VirtualDisk) *image {
	f := fileOf(d)
	if s.now[f] == nil {
		s.now[f] = newImage(d.CapacityInKB * 1024)
	}
	return s.now[f]
}

// shrink gives every disk of the model the laboratory's size.
func (s *diskStore) shrink(capacity int64) {
	for _, e := range simulator.Map.All("VirtualMachine") {
		vm := e.(*simulator.VirtualMachine)
		for _, d := range virtualDisks(vm.Config.Hardware.Device) {
			d.CapacityInKB, d.CapacityInBytes = capacity/1024, capacity
		}
	}
}

// cut remembers the content of all disks for a new snapshot. The snapshot's
// own configuration names the files, the change ids, and whether older
// snapshots lie below.
func (s *diskStore) cut(vm *simulator.VirtualMachine, sn *simulator.VirtualMachineSnapshot, older bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	held := map[int32]*cutDisk{}
	devices := copyDevices(vm.Config.Hardware.Device)
	for _, d := range virtualDisks(devices) {
		b, ok := d.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
		if !ok || strings.HasPrefix(b.DiskMode, "independent") {
			continue
		}
		held[d.Key] = &cutDisk{image: s.image(d).copy(), file: fileOf(d)}
		b.ChangeId = ""
		if vm.Config.ChangeTrackingEnabled != nil && *vm.Config.ChangeTrackingEnabled {
			s.count++
			b.ChangeId = fmt.Sprintf("52 de c0 %02x %s %d/%d", s.epoch[vm.Self.Value], vm.Self.Value, d.Key, s.count)
			s.versions[b.ChangeId] = held[d.Key].image
		}
		if older {
			b.Parent = &types.VirtualDiskFlatVer2BackingInfo{DiskMode: b.DiskMode}
			b.Parent.FileName = b.FileName
		}
	}
	sn.Config.Hardware.Device = devices
	s.at[sn.Self.Value] = held
}

func (s *diskStore) revert(snapshot string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.at[snapshot] {
		s.now[c.file] = c.image.copy()
		ensureFile(c.file)
	}
}

func (s *diskStore) clone(from *simulator.VirtualMachine, snapshot string, to *simulator.VirtualMachine) {
	s.mu.Lock()
	defer s.mu.Unlock()
	source := map[[2]int32]*image{}
	for _, d := range virtualDisks(from.Config.Hardware.Device) {
		if c := s.at[snapshot][d.Key]; c != nil {
			source[position(d)] = c.image
		} else {
			source[position(d)] = s.image(d)
		}
	}
	for _, d := range virtualDisks(to.Config.Hardware.Device) {
		if i := source[position(d)]; i != nil {
			s.now[fileOf(d)] = i.copy()
		}
	}
}

func position(d *types.VirtualDisk) [2]int32 {
	unit := int32(0)
	if d.UnitNumber != nil {
		unit = *d.UnitNumber
	}
	return [2]int32{d.ControllerKey, unit}
}

// destroyed forgets the disks of a machine; files of other machines that lay
// in its folder are kept, as a datastore keeps a folder that is not empty. On
// an object store (vSAN, vVols) the folder is an object, and goes.
func (s *diskStore) destroyed(files []string, folder string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range files {
		delete(s.now, f)
	}
	if isObjectStore(folder) {
		for f := range s.now {
			if strings.HasPrefix(f, folder[:strings.LastIndex(folder, "/")+1]) {
				delete(s.now, f)
			}
		}
		return
	}
	for _, e := range simulator.Map.All("VirtualMachine") {
		for _, d := range virtualDisks(e.(*simulator.VirtualMachine).Config.Hardware.Device) {
			ensureFile(fileOf(d))
		}
	}
}

func isObjectStore(file string) bool {
	name, rest := splitPath(file)
	for _, e := range simulator.Map.All("Datastore") {
		if ds := e.(*simulator.Datastore); ds.Name == name && strings.Contains(rest, "/") {
			return ds.Summary.Type == "vsan" || ds.Summary.Type == "VVOL"
		}
	}
	return false
}

// isEncrypted tells whether a disk's file holds ciphertext.
func isEncrypted(d *types.VirtualDisk) bool {
	b, ok := d.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
	return ok && b.KeyId != nil
}

// serveHardware makes the devices of a machine, and its datastores, of another kind.
func serveHardware(w http.ResponseWriter, r *http.Request) {
	var q struct {
		VM        string                  `json:"vm"`
		SharedBus types.VirtualSCSISharing `json:"shared_bus"`
		KeyID     string                  `json:"key_id"`
		Store     string                  `json:"store"`
	}
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	vm, ok := simulator.Map.Get(types.ManagedObjectReference{Type: "VirtualMachine", Value: q.VM}).(*simulator.VirtualMachine)
	if !ok {
		http.NotFound(w, r)
		return
	}
	simulator.Map.WithLock(vm, func() {
		devices := copyDevices(vm.Config.Hardware.Device)
		for _, d := range devices {
			if c, ok := d.(types.BaseVirtualSCSIController); ok {
				c.GetVirtualSCSIController().SharedBus = q.SharedBus
			}
		}
		for _, d := range virtualDisks(devices) {
			if b, ok := d.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok {
				b.KeyId = nil
				if q.KeyID != "" {
					b.KeyId = &types.CryptoKeyId{KeyId: q.KeyID}
				}
			}
		}
		simulator.Map.Update(vm, []types.PropertyChange{{Name: "config.hardware.device", Val: devices}})
	})
	for _, e := range simulator.Map.All("Datastore") {
		ds := e.(*simulator.Datastore)
		simulator.Map.WithLock(ds, func() { ds.Summary.Type = q.Store })
	}
}

func ensureFile(file string) {
	name, rest := splitPath(file)
	for _, e := range simulator.Map.All("Datastore") {
		ds := e.(*simulator.Datastore)
		if ds.Name != name || rest == "" {
			continue
		}
		p := filepath.Join(ds.Info.GetDatastoreInfo().Url, rest)
		_ = os.MkdirAll(filepath.Dir(p), 0700)
		for _, f := range []string{p, strings.Replace(p, ".vmdk", "-flat.vmdk", 1)} {
			if h, err := os.OpenFile(f, os.O_CREATE, 0600); err == nil {
				h.Close()
			}
		}
	}
}

func splitPath(file string) (string, string) {
	i := strings.Index(file, "] ")
	if i < 1 {
		return "", ""
	}
	return file[1:i], file[i+2:]
}

// ---- changed block tracking ----------------------------------------------

func (s *diskStore) changedAreas(w http.ResponseWriter, vm *simulator.VirtualMachine, req *types.QueryChangedDiskAreas) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if vm.Config.ChangeTrackingEnabled == nil || !*vm.Config.ChangeTrackingEnabled || req.Snapshot == nil {
		writeFault(w, "change tracking is off", &types.FileFault{File: req.ChangeId})
		return
	}
	cut := s.at[req.Snapshot.Value][req.DeviceKey]
	if cut == nil {
		writeFault(w, "", &types.InvalidArgument{InvalidProperty: "deviceKey"})
		return
	}
	base := newImage(cut.image.capacity)
	if req.ChangeId != "*" {
		base = s.versions[req.ChangeId]
	}
	if base == nil {
		writeFault(w, "unknown change id", &types.FileFault{File: req.ChangeId})
		return
	}
	res := types.DiskChangeInfo{StartOffset: req.StartOffset, Length: cut.image.capacity - req.StartOffset}
	for n := int64(0); n*grainBytes < cut.image.capacity; n++ {
		if n*grainBytes >= req.StartOffset && !bytes.Equal(orZero(base.grains[n]), orZero(cut.image.grains[n])) {
			res.ChangedArea = append(res.ChangedArea, types.DiskChangeExtent{Start: n * grainBytes, Length: grainBytes})
		}
	}
	writeRes(w, "QueryChangedDiskAreas", &types.QueryChangedDiskAreasResponse{Returnval: res})
}

var zeros = make([]byte, grainBytes)

func orZero(g []byte) []byte {
	if g == nil {
		return zeros
	}
	return g
}

// ---- the datastore's file service -----------------------------------------

// serveFlat answers partial reads of a disk's flat extent: the content below
// the oldest snapshot, or the present one of a machine that is off. It answers
// false for files that are no disks.
func (s *diskStore) serveFlat(w http.ResponseWriter, r *http.Request) bool {
	if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "-flat.vmdk") {
		return false
	}
	rest, _ := url.PathUnescape(strings.TrimPrefix(r.URL.EscapedPath(), "/folder/"))
	file := fmt.Sprintf("[%s] %s", r.URL.Query().Get("dsName"), strings.Replace(rest, "-flat.vmdk", ".vmdk", 1))
	s.mu.Lock()
	defer s.mu.Unlock()
	vm, disk := ownerOf(file)
	if vm == nil {
		http.NotFound(w, r)
		return true
	}
	var img *image
	if vm.Snapshot != nil && len(vm.Snapshot.RootSnapshotList) > 0 {
		if c := s.at[vm.Snapshot.RootSnapshotList[0].Snapshot.Value][disk.Key]; c != nil {
			img = c.image
		}
	} else if vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOff {
		img = s.image(disk)
	}
	if img == nil {
		w.WriteHeader(http.StatusLocked)
		return true
	}
	var from, to int64
	if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to); err != nil || to >= img.capacity || from > to {
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		return true
	}
	w.Header().Set("Content-Length", strconv.FormatInt(to-from+1, 10))
	w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, img.capacity))
	w.WriteHeader(http.StatusPartialContent)
	content := img.read(from, to-from+1)
	if isEncrypted(disk) {
		for i := range content {
			content[i] ^= 0xa5
		}
	}
	_, _ = w.Write(content)
	return true
}

func ownerOf(file string) (*simulator.VirtualMachine, *types.VirtualDisk) {
	for _, e := range simulator.Map.All("VirtualMachine") {
		vm := e.(*simulator.VirtualMachine)
		for _, d := range virtualDisks(vm.Config.Hardware.Device) {
			if fileOf(d) == file {
				return vm, d
			}
		}
	}
	return nil, nil
}

// ---- control ---------------------------------------------------------------

// serveLab reads and writes disks as the guest would: GET and POST
// /lab/disk?vm=vm-57&disk=0&offset=0[&length=512].
func (s *diskStore) serveLab(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	vm, ok := simulator.Map.Get(types.ManagedObjectReference{Type: "VirtualMachine", Value: q.Get("vm")}).(*simulator.VirtualMachine)
	if !ok {
		http.NotFound(w, r)
		return
	}
	n, _ := strconv.Atoi(q.Get("disk"))
	offset, _ := strconv.ParseInt(q.Get("offset"), 10, 64)
	length, _ := strconv.ParseInt(q.Get("length"), 10, 64)
	found := virtualDisks(vm.Config.Hardware.Device)
	if n >= len(found) {
		http.NotFound(w, r)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Method == http.MethodPost {
		data, _ := ioutil.ReadAll(r.Body)
		img := s.image(found[n]).copy()
		img.write(offset, data)
		s.now[fileOf(found[n])] = img
		return
	}
	_, _ = w.Write(s.image(found[n]).read(offset, length))
}

func (s *diskStore) serveReset(w http.ResponseWriter, r *http.Request) {
	var q struct {
		VM string `json:"vm"`
	}
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch[q.VM]++
	for id := range s.versions {
		if strings.Contains(id, " "+q.VM+" ") {
			delete(s.versions, id)
		}
	}
}
