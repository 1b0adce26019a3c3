package ui

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed static
var static embed.FS

// pages serves our pages: one document for all of them, whose script reads from the path
// what it shows, and the files it needs.
func pages() http.Handler {
	mux := http.NewServeMux()
	files, tags := make(map[string][]byte), make(map[string]string)
	_ = fs.WalkDir(static, "static", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := static.ReadFile(name)
		sum := sha256.Sum256(data)
		files[name], tags[name] = data, `"`+hex.EncodeToString(sum[:8])+`"`
		return err
	}) // what is embedded can be read
	serve := func(w http.ResponseWriter, r *http.Request, name string) {
		data, ok := files[name]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", contentTypes[path.Ext(name)])
		w.Header().Set("Cache-Control", "no-cache") // asked for each time, sent when it is another
		w.Header().Set("ETag", tags[name])
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	}
	mux.HandleFunc("GET /static/", func(w http.ResponseWriter, r *http.Request) {
		serve(w, r, strings.TrimPrefix(r.URL.Path, "/"))
	})
	for _, page := range []string{"/{$}", "/batches/{name}", "/batches/{name}/tasks/{seq}", "/lanes", "/lanes/{name}", "/workers", "/redis"} {
		mux.HandleFunc("GET "+page, func(w http.ResponseWriter, r *http.Request) { serve(w, r, "static/index.html") })
	}
	return mux
}

var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".svg":  "image/svg+xml",
}
