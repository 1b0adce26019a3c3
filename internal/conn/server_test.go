package conn

import "testing"

func TestVersions(t *testing.T) {
	for v, ok := range map[string]bool{
		"6.2.0": true, "6.2.14": true, "7.0.15": true, "7.2.4": true /* valkey */, "8.4.0": true, "10.0.0": true,
		"255.255.255": true /* unstable */, "6.3": true,
		"6.0.16": false, "5.0.7": false, "2.8": false, "x": false,
	} {
		s := server{info: parseInfo("# Server\r\nredis_version:" + v + "\r\nredis_mode:standalone\r\n")}
		if got := len(s.checkVersion()) == 0; got != ok {
			t.Errorf("%s: %v", v, s.checkVersion())
		}
	}
}

func TestModes(t *testing.T) {
	for _, c := range []struct {
		mode      string
		isCluster bool
		problems  int
	}{{"standalone", false, 0}, {"", false, 0}, {"cluster", true, 0}, {"cluster", false, 1}, {"sentinel", false, 1}} {
		s := server{info: map[string]string{"redis_mode": c.mode}}
		if got := s.checkMode(c.isCluster); len(got) != c.problems {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestPersistence(t *testing.T) {
	for _, c := range []struct {
		aof, info       string
		problems, fatal int
	}{
		{"1", "aof_last_write_status:ok\nrdb_last_bgsave_status:ok", 0, 0},
		{"yes", "", 0, 0},
		{"0", "", 1, 0},
		{"", "", 1, 0},
		{"1", "aof_last_write_status:err", 1, 1},
		{"1", "rdb_last_bgsave_status:err", 1, 0},
	} {
		s := server{aof: c.aof, info: parseInfo(c.info)}
		got, fatal := s.checkPersistence(), 0
		for _, p := range got {
			if p.Fatal {
				fatal++
			}
		}
		if len(got) != c.problems || fatal != c.fatal {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestCommandLine(t *testing.T) {
	for _, c := range []struct {
		s    server
		want string
	}{
		{server{addr: "localhost:6379"}, "redis-cli PING"},
		{server{addr: "127.0.0.1:7000", tls: true}, "redis-cli -p 7000 --tls PING"},
		{server{addr: "[::1]:6379"}, "redis-cli -h ::1 PING"},
		{server{addr: "/tmp/r.sock"}, "redis-cli -s /tmp/r.sock PING"},
		{server{addr: "the Sentinels' master"}, "redis-cli PING"},
	} {
		if got := c.s.cli("PING"); got != c.want {
			t.Errorf("%+v: %s", c.s, got)
		}
	}
}
