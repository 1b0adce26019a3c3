package tasks

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// registry holds every task type this process knows. Types are defined while
// packages are initialised and looked up ever after.
var registry = struct {
	sync.RWMutex
	types map[string]*Type
}{types: map[string]*Type{}}

// register makes t known; a second type of the same name is a caller's bug.
func register(t *Type) {
	registry.Lock()
	defer registry.Unlock()
	if registry.types[t.name] != nil {
		panic(fmt.Sprintf("tasks: define %q: the name is taken", t.name))
	}
	registry.types[t.name] = t
}

// Lookup returns the task type called name.
func Lookup(name string) (*Type, bool) {
	registry.RLock()
	defer registry.RUnlock()
	t, ok := registry.types[name]
	return t, ok
}

// All returns every task type, sorted by name.
func All() []*Type {
	registry.RLock()
	defer registry.RUnlock()
	return slices.SortedFunc(maps.Values(registry.types), func(a, b *Type) int {
		return strings.Compare(a.name, b.name)
	})
}
