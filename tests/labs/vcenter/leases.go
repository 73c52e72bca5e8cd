package main

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// HttpNfcLease replaces the library's lease, which cannot serve downloads.
// The registry dispatches by reflection, so an own type is enough.
type HttpNfcLease struct {
	mo.HttpNfcLease
	mu      sync.Mutex
	content map[string][]byte // to read, by name
	targets map[string]string // to write: name -> datastore path
	undo    func()
	keys    map[string]string
	heard   time.Time
	open    bool
}

// leaseTimeout is how long a lease lives without a sign of its client.
var leaseTimeout = 300 * time.Second

func (l *HttpNfcLease) hear() {
	l.mu.Lock()
	l.heard = time.Now()
	l.mu.Unlock()
}

// expire aborts the lease when its client has died.
func (l *HttpNfcLease) expire() {
	for {
		time.Sleep(leaseTimeout / 4)
		l.mu.Lock()
		silent, open := time.Since(l.heard) > leaseTimeout, l.open
		l.mu.Unlock()
		if !open {
			return
		}
		if silent {
			l.abort()
			return
		}
	}
}

var leases sync.Map

// lease hands out (content) or takes in (files) the disks of a machine.
func (x *ext) lease(vm *simulator.VirtualMachine, devices []types.BaseVirtualDevice, images map[int32]*image, undo func()) *HttpNfcLease {
	l := &HttpNfcLease{content: map[string][]byte{}, targets: map[string]string{}, keys: map[string]string{},
		undo: undo, heard: time.Now(), open: true}
	l.State = types.HttpNfcLeaseStateInitializing
	simulator.Map.Put(l)
	info := &types.HttpNfcLeaseInfo{Entity: vm.Self, LeaseTimeout: int32(leaseTimeout / time.Second), Lease: l.Self}
	n := 0
	for _, d := range virtualDisks(devices) {
		if images != nil && images[d.Key] == nil {
			continue
		}
		name := fmt.Sprintf("disk-%d.vmdk", n)
		place := placeOf(devices, d)
		size := int64(0)
		if images != nil {
			l.content[name] = encodeVmdk(images[d.Key])
			size = int64(len(l.content[name]))
		} else {
			l.targets[name] = fileOf(d)
		}
		l.keys[name] = fmt.Sprintf("/%s/%s", vm.Self.Value, place)
		info.TotalDiskCapacityInKB += d.CapacityInKB
		info.DeviceUrl = append(info.DeviceUrl, types.HttpNfcLeaseDeviceUrl{
			Key: l.keys[name], ImportKey: fmt.Sprintf("/%s/%s", vm.Name, place),
			Url:           fmt.Sprintf("%s://*:%s/labnfc/%s/%s", x.base.Scheme, x.base.Port(), l.Self.Value, name),
			SslThumbprint: "", Disk: types.NewBool(true), TargetId: name, FileSize: size,
		})
		n++
	}
	leases.Store(l.Self.Value, l)
	go l.expire()
	go func() {
		time.Sleep(20 * time.Millisecond)
		simulator.Map.WithLock(l, func() {
			simulator.Map.Update(l, []types.PropertyChange{
				{Name: "info", Val: info}, {Name: "state", Val: types.HttpNfcLeaseStateReady}})
		})
	}()
	return l
}

func placeOf(devices []types.BaseVirtualDevice, d *types.VirtualDisk) string {
	kind, bus := "VirtualController", int32(0)
	for _, c := range devices {
		if c.GetVirtualDevice().Key != d.ControllerKey {
			continue
		}
		kind = strings.TrimPrefix(fmt.Sprintf("%T", c), "*types.")
		if b, ok := c.(types.BaseVirtualController); ok {
			bus = b.GetVirtualController().BusNumber
		}
	}
	return fmt.Sprintf("%s%d:%d", kind, bus, position(d)[1])
}

func (x *ext) exportVM(w http.ResponseWriter, vm *simulator.VirtualMachine) {
	if vm.Runtime.PowerState != types.VirtualMachinePowerStatePoweredOff {
		writeFault(w, "", &types.InvalidPowerState{
			RequestedState: types.VirtualMachinePowerStatePoweredOff, ExistingState: vm.Runtime.PowerState})
		return
	}
	images := map[int32]*image{}
	disks.mu.Lock()
	for _, d := range virtualDisks(vm.Config.Hardware.Device) {
		images[d.Key] = disks.image(d)
	}
	disks.mu.Unlock()
	l := x.lease(vm, vm.Config.Hardware.Device, images, nil)
	writeRes(w, "ExportVm", &types.ExportVmResponse{Returnval: l.Self})
}

func (x *ext) exportSnapshot(w http.ResponseWriter, sn *simulator.VirtualMachineSnapshot) {
	vm := simulator.Map.Get(sn.Vm).(*simulator.VirtualMachine)
	images := map[int32]*image{}
	disks.mu.Lock()
	for key, c := range disks.at[sn.Self.Value] {
		images[key] = c.image
	}
	disks.mu.Unlock()
	l := x.lease(vm, sn.Config.Hardware.Device, images, nil)
	writeRes(w, "ExportSnapshot", &types.ExportSnapshotResponse{Returnval: l.Self})
}

// importVApp makes the machine by the library's own CreateVM_Task and answers
// a lease for its disks; aborting the lease destroys the machine again.
func (x *ext) importVApp(w http.ResponseWriter, r *http.Request, req *types.ImportVApp) {
	spec, ok := req.Spec.(*types.VirtualMachineImportSpec)
	if !ok || req.Folder == nil {
		writeFault(w, "", &types.InvalidArgument{InvalidProperty: "spec"})
		return
	}
	x.making.Lock()
	defer x.making.Unlock()
	if f, ok := simulator.Map.Get(*req.Folder).(*simulator.Folder); ok {
		if e := simulator.Map.FindByName(spec.ConfigSpec.Name, f.ChildEntity); e != nil {
			writeFault(w, "", &types.DuplicateName{Name: spec.ConfigSpec.Name, Object: e.Reference()})
			return
		}
	}
	create := &types.CreateVM_Task{This: *req.Folder, Config: spec.ConfigSpec, Pool: req.This, Host: req.Host}
	made, fault := x.runNow(r, "CreateVM_Task", create)
	if fault != nil {
		writeFault(w, "", fault)
		return
	}
	ref := made.(types.ManagedObjectReference)
	vm := simulator.Map.Get(ref).(*simulator.VirtualMachine)
	l := x.lease(vm, vm.Config.Hardware.Device, nil, func() {
		_, _ = x.runNow(r, "Destroy_Task", &types.Destroy_Task{This: ref})
	})
	writeRes(w, "ImportVApp", &types.ImportVAppResponse{Returnval: l.Self})
}

func serveLease(w http.ResponseWriter, r *http.Request) {
	p := strings.Split(r.URL.Path, "/")
	v, ok := leases.Load(p[len(p)-2])
	name, _ := url.PathUnescape(p[len(p)-1])
	if !ok {
		http.NotFound(w, r)
		return
	}
	l := v.(*HttpNfcLease)
	l.hear()
	defer l.hear()
	if file := l.targets[name]; file != "" && r.Method == http.MethodPost {
		img, err := decodeVmdk(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		disks.mu.Lock()
		disks.now[file] = img
		disks.mu.Unlock()
		w.WriteHeader(http.StatusCreated)
		return
	}
	data, ok := l.content[name]
	if !ok || r.Method != http.MethodGet {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	_, _ = w.Write(data)
}

// end tells whether the lease was open until now.
func (l *HttpNfcLease) end() bool {
	l.mu.Lock()
	was := l.open
	l.open = false
	l.mu.Unlock()
	leases.Delete(l.Self.Value)
	simulator.Map.Update(l, []types.PropertyChange{{Name: "state", Val: types.HttpNfcLeaseStateDone}})
	return was
}

func (l *HttpNfcLease) abort() {
	if l.end() && l.undo != nil {
		l.undo()
	}
}

func (l *HttpNfcLease) HttpNfcLeaseComplete(req *types.HttpNfcLeaseComplete) soap.HasFault {
	l.end()
	return &methods.HttpNfcLeaseCompleteBody{Res: new(types.HttpNfcLeaseCompleteResponse)}
}

func (l *HttpNfcLease) HttpNfcLeaseAbort(req *types.HttpNfcLeaseAbort) soap.HasFault {
	l.abort()
	return &methods.HttpNfcLeaseAbortBody{Res: new(types.HttpNfcLeaseAbortResponse)}
}

func (l *HttpNfcLease) HttpNfcLeaseProgress(req *types.HttpNfcLeaseProgress) soap.HasFault {
	l.hear()
	simulator.Map.Update(l, []types.PropertyChange{{Name: "transferProgress", Val: req.Percent}})
	return &methods.HttpNfcLeaseProgressBody{Res: new(types.HttpNfcLeaseProgressResponse)}
}

func (l *HttpNfcLease) HttpNfcLeaseGetManifest(req *types.HttpNfcLeaseGetManifest) soap.HasFault {
	res := new(types.HttpNfcLeaseGetManifestResponse)
	for name, data := range l.content {
		sum := sha1.Sum(data)
		res.Returnval = append(res.Returnval, types.HttpNfcLeaseManifestEntry{
			Key: l.keys[name], Sha1: hex.EncodeToString(sum[:]), Size: int64(len(data)), Disk: true})
	}
	return &methods.HttpNfcLeaseGetManifestBody{Res: res}
}
