package conn_test

import (
	"strings"
	"testing"

	"github.com/weir-tasks/weir/internal/conn"
	"github.com/weir-tasks/weir/internal/conn/conntest"
)

func TestDescribeTellsWhatAnOperatorAsks(t *testing.T) {
	t.Parallel()
	s := conntest.Server(t, "--appendonly", "yes", "--appendfsync", "always", "--maxmemory", "100mb",
		"--user", "poor", "on", ">SECRET", "~*", "&*", "+@all", "-info", "-config")
	all, err := conn.Describe(t.Context(), s.Client())
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	n := all[0]
	if n.Addr != s.Addr() || n.Version == "" || n.Mode != "standalone" || n.Policy != "noeviction" || !n.AOF || n.Fsync != "always" ||
		n.AOFStatus != "ok" || n.MaxMemory != 100<<20 || n.UsedMemory == 0 || n.Clients == 0 || n.HasNoInfo {
		t.Errorf("%+v", n)
	}
	all, err = conn.Describe(t.Context(), works(t, strings.Replace(s.URL(), "://", "://poor:SECRET@", 1)))
	if err != nil || len(all) != 1 || !all[0].HasNoInfo || all[0].Addr != s.Addr() {
		t.Errorf("without the right to INFO: %+v, %v", all, err)
	}
	if all, err = conn.Describe(t.Context(), conntest.Mini(t)); err != nil || len(all) != 1 {
		t.Errorf("embedded: %+v, %v", all, err)
	}
	s.Kill()
	if _, err := conn.Describe(t.Context(), s.Client()); err == nil {
		t.Error("a dead server is described")
	}
}
