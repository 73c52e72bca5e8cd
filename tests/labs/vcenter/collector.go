package main

import (
	"bytes"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// PropertyCollector replaces the collectors that clients make for themselves:
// the library's misses filters that are made while a wait is under way, and
// does not lock what its threads share.
type PropertyCollector struct {
	mo.PropertyCollector
	inner   simulator.PropertyCollector
	mu      sync.Mutex
	filters map[types.ManagedObjectReference]*PropertyFilter
	seen    map[types.ManagedObjectReference]map[types.ManagedObjectReference]map[string]interface{}
	version int
	cancel  chan struct{}
	gone    bool
}

// PropertyFilter is one of its filters.
type PropertyFilter struct {
	mo.PropertyFilter
	pc *PropertyCollector
}

// Lock and Unlock keep the library from locking the object around a call, for
// a wait must not keep others from making filters.
func (pc *PropertyCollector) Lock()   {}
func (pc *PropertyCollector) Unlock() {}
func (f *PropertyFilter) Lock()       {}
func (f *PropertyFilter) Unlock()     {}

func makeCollector(w http.ResponseWriter) {
	pc := &PropertyCollector{
		filters: map[types.ManagedObjectReference]*PropertyFilter{},
		seen:    map[types.ManagedObjectReference]map[types.ManagedObjectReference]map[string]interface{}{},
		cancel:  make(chan struct{}),
	}
	simulator.Map.Put(pc)
	writeRes(w, "CreatePropertyCollector", &types.CreatePropertyCollectorResponse{Returnval: pc.Self})
}

func (pc *PropertyCollector) CreateFilter(ctx *simulator.Context, c *types.CreateFilter) soap.HasFault {
	f := &PropertyFilter{pc: pc}
	f.Spec, f.PartialUpdates = c.Spec, c.PartialUpdates
	simulator.Map.Put(f)
	pc.mu.Lock()
	pc.filters[f.Self] = f
	pc.mu.Unlock()
	return &methods.CreateFilterBody{Res: &types.CreateFilterResponse{Returnval: f.Self}}
}

func (f *PropertyFilter) DestroyPropertyFilter(ctx *simulator.Context, _ *types.DestroyPropertyFilter) soap.HasFault {
	f.pc.mu.Lock()
	delete(f.pc.filters, f.Self)
	delete(f.pc.seen, f.Self)
	f.pc.mu.Unlock()
	simulator.Map.Remove(f.Self)
	return &methods.DestroyPropertyFilterBody{Res: new(types.DestroyPropertyFilterResponse)}
}

func (pc *PropertyCollector) DestroyPropertyCollector(ctx *simulator.Context, _ *types.DestroyPropertyCollector) soap.HasFault {
	pc.mu.Lock()
	pc.gone = true
	close(pc.cancel)
	pc.cancel = make(chan struct{})
	for ref := range pc.filters {
		simulator.Map.Remove(ref)
	}
	pc.mu.Unlock()
	simulator.Map.Remove(pc.Self)
	return &methods.DestroyPropertyCollectorBody{Res: new(types.DestroyPropertyCollectorResponse)}
}

func (pc *PropertyCollector) CancelWaitForUpdates(_ *types.CancelWaitForUpdates) soap.HasFault {
	pc.mu.Lock()
	close(pc.cancel)
	pc.cancel = make(chan struct{})
	pc.mu.Unlock()
	return &methods.CancelWaitForUpdatesBody{Res: new(types.CancelWaitForUpdatesResponse)}
}

func (pc *PropertyCollector) RetrievePropertiesEx(ctx *simulator.Context, r *types.RetrievePropertiesEx) soap.HasFault {
	return pc.inner.RetrievePropertiesEx(ctx, r)
}

func (pc *PropertyCollector) WaitForUpdatesEx(ctx *simulator.Context, r *types.WaitForUpdatesEx) soap.HasFault {
	limit := 24 * time.Hour
	if r.Options != nil && r.Options.MaxWaitSeconds != nil {
		limit = time.Duration(*r.Options.MaxWaitSeconds) * time.Second
	}
	pc.mu.Lock()
	cancel := pc.cancel
	if r.Version == "" { // the client begins anew: everything is news
		pc.seen = map[types.ManagedObjectReference]map[types.ManagedObjectReference]map[string]interface{}{}
	}
	pc.mu.Unlock()
	body := &methods.WaitForUpdatesExBody{Res: new(types.WaitForUpdatesExResponse)}
	for end := time.Now().Add(limit); ; {
		if set := pc.news(ctx); set != nil {
			body.Res.Returnval = set
			return body
		}
		if time.Now().After(end) {
			return body
		}
		select {
		case <-cancel:
			body.Res = nil
			body.Fault_ = simulator.Fault("", new(types.RequestCanceled))
			return body
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// news returns what is different from what was told before; nil when nothing is.
func (pc *PropertyCollector) news(ctx *simulator.Context) *types.UpdateSet {
	pc.mu.Lock()
	defer pc.mu.Unlock()
	var updates []types.PropertyFilterUpdate
	for ref, f := range pc.filters {
		told := pc.seen[ref]
		if told == nil {
			told = map[types.ManagedObjectReference]map[string]interface{}{}
			pc.seen[ref] = told
		}
		if u := pc.filterNews(ctx, f, told); len(u) > 0 {
			updates = append(updates, types.PropertyFilterUpdate{Filter: ref, ObjectSet: u})
		}
	}
	if len(updates) == 0 {
		return nil
	}
	pc.version++
	return &types.UpdateSet{Version: fmt.Sprint(pc.version), FilterSet: updates}
}

func (pc *PropertyCollector) filterNews(ctx *simulator.Context, f *PropertyFilter, told map[types.ManagedObjectReference]map[string]interface{}) (out []types.ObjectUpdate) {
	spec := f.Spec
	spec.ReportMissingObjectsInResults = types.NewBool(true)
	res := pc.inner.RetrievePropertiesEx(ctx, &types.RetrievePropertiesEx{This: pc.Self, SpecSet: []types.PropertyFilterSpec{spec}})
	body, ok := res.(*methods.RetrievePropertiesExBody)
	if !ok || body.Res == nil || body.Res.Returnval == nil {
		return nil
	}
	for _, o := range body.Res.Returnval.Objects {
		known, old := told[o.Obj]
		u := types.ObjectUpdate{Obj: o.Obj, Kind: types.ObjectUpdateKindModify}
		if !old {
			known = map[string]interface{}{}
			told[o.Obj] = known
			u.Kind = types.ObjectUpdateKindEnter
		}
		for _, p := range o.PropSet {
			if before, had := known[p.Name]; had && reflect.DeepEqual(before, p.Val) {
				continue
			}
			known[p.Name] = p.Val
			u.ChangeSet = append(u.ChangeSet, types.PropertyChange{Name: p.Name, Op: types.PropertyChangeOpAssign, Val: p.Val})
		}
		if !old || len(u.ChangeSet) > 0 {
			out = append(out, u)
		}
	}
	return out
}

// ---- pages -----------------------------------------------------------------

// rest is what is left of an answer, with what stood around its objects.
type rest struct {
	before, after string
	objects       []string
	size          int
}

var pages = struct {
	sync.Mutex
	rest map[string]rest
	next int
}{rest: map[string]rest{}}

const objectsEnd = "</objects>"

// page cuts a RetrievePropertiesEx answer after maxObjects objects; the
// library ignores that option.
func page(answer []byte, size int) []byte {
	first, last := bytes.Index(answer, []byte("<objects>")), bytes.LastIndex(answer, []byte(objectsEnd))
	if first < 0 || size <= 0 {
		return answer
	}
	last += len(objectsEnd)
	objects := strings.SplitAfter(string(answer[first:last]), objectsEnd)
	objects = objects[:len(objects)-1]
	if len(objects) <= size {
		return answer
	}
	return []byte(rest{string(answer[:first]), string(answer[last:]), objects, size}.take())
}

// take returns the next page and keeps what is left.
func (r rest) take() string {
	token := ""
	now := r.objects
	if len(now) > r.size {
		pages.Lock()
		pages.next++
		name := fmt.Sprintf("page-%d", pages.next)
		pages.rest[name] = rest{r.before, r.after, now[r.size:], r.size}
		pages.Unlock()
		token, now = "<token>"+name+"</token>", now[:r.size]
	}
	return r.before + token + strings.Join(now, "") + r.after
}

func continuePage(w http.ResponseWriter, token string) {
	pages.Lock()
	r, ok := pages.rest[token]
	delete(pages.rest, token)
	pages.Unlock()
	if !ok {
		writeFault(w, "unknown token", &types.InvalidArgument{InvalidProperty: "token"})
		return
	}
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	answer := r.take()
	if !strings.Contains(answer, "<ContinueRetrieve") {
		answer = strings.ReplaceAll(answer, "RetrievePropertiesExResponse", "ContinueRetrievePropertiesExResponse")
	}
	_, _ = w.Write([]byte(answer))
}
