// Package conntest gives tests a Redis: a real redis-server that can be killed,
// frozen and restarted, a Sentinel, a Cluster, or the embedded one. All listen
// on 127.0.0.1, keep their files in the test's TempDir and are gone when the
// test ends. Where redis-server is missing a test fails; it is never skipped.
package conntest
