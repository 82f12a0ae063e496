// SPDX-License-Identifier: Apache-2.0

// net/http; see ../README.md for the routes.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

var log *os.File
var filler = []byte(strings.Repeat("abcdefghijklmnopqrstuvwxyz", 1<<16))

func now() int64 {
	var ts syscall.Timespec
	syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, 1, uintptr(unsafe.Pointer(&ts)), 0)
	return ts.Nano()
}

func fill(w io.Writer, n int) {
	for n > 0 {
		k := n
		if k > len(filler) {
			k = len(filler)
		}
		if _, err := w.Write(filler[:k]); err != nil {
			return
		}
		n -= k
	}
}

func record(r *http.Request, status int, start int64, in, out int, write int64) {
	fmt.Fprintf(log, "%s %s %d %d %d %d %d %d\n", r.Method, r.RequestURI, status, start, now(), in, out, write)
}

func reply(w http.ResponseWriter, r *http.Request, status, size int, start int64, in int, body func()) {
	w.Header().Set("Content-Length", strconv.Itoa(size))
	w.WriteHeader(status)
	write := now()
	if r.Method != "HEAD" {
		body()
	} else {
		size = 0
	}
	w.(http.Flusher).Flush() // the last byte is written before the stamp
	record(r, status, start, in, size, write)
}

func abort(w http.ResponseWriter, r *http.Request, when string, start int64) {
	conn, rw, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	status := 0
	if when == "mid" {
		status = 200
		rw.WriteString("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n0123456789")
		rw.Flush()
		time.Sleep(20 * time.Millisecond)
	}
	record(r, status, start, 0, 0, 0)
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	conn.Close()
}

// Through the response's ReadFrom, which is sendfile.
func file(w http.ResponseWriter, r *http.Request, size int, start int64) {
	f, err := os.CreateTemp("", "goserver")
	if err != nil {
		panic(err)
	}
	defer f.Close()
	os.Remove(f.Name())
	f.Truncate(int64(size))
	w.Header().Set("Content-Length", strconv.Itoa(size))
	w.Header().Set("Content-Type", "application/octet-stream")
	io.Copy(w, f)
	w.(http.Flusher).Flush()
	record(r, 200, start, 0, size, 0)
}

func drip(w http.ResponseWriter, r *http.Request, start int64) {
	for i := 0; i < 500 && r.Context().Err() == nil; i++ {
		fill(w, 100)
		w.(http.Flusher).Flush()
		time.Sleep(10 * time.Millisecond)
	}
	record(r, 200, start, 0, 0, 0)
}

func handle(w http.ResponseWriter, r *http.Request) {
	start := now()
	part := strings.Split(r.URL.Path, "/")
	arg := 0
	if len(part) > 2 {
		arg, _ = strconv.Atoi(part[2])
	}
	w.Header()["Date"] = nil
	switch part[1] {
	case "get":
		reply(w, r, 200, arg, start, 0, func() { fill(w, arg) })
	case "file":
		file(w, r, arg, start)
	case "echo":
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		reply(w, r, 200, len(body), start, len(body), func() { w.Write(body) })
	case "sink":
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			return
		}
		text := strconv.FormatInt(n, 10)
		reply(w, r, 200, len(text), start, int(n), func() { io.WriteString(w, text) })
	case "chunked":
		for at := 0; at < arg; at += 30000 {
			n := arg - at
			if n > 30000 {
				n = 30000
			}
			fill(w, n)
			w.(http.Flusher).Flush()
		}
		record(r, 200, start, 0, arg, 0)
	case "delay":
		time.Sleep(time.Duration(arg) * time.Millisecond)
		reply(w, r, 200, 1, start, 0, func() { fill(w, 1) })
	case "status":
		reply(w, r, arg, 1, start, 0, func() { fill(w, 1) })
	case "drip":
		drip(w, r, start)
	case "abort":
		abort(w, r, part[2], start)
	default:
		reply(w, r, 404, 1, start, 0, func() { fill(w, 1) })
	}
}

func main() {
	var l net.Listener
	var err error
	if log, err = os.OpenFile(os.Args[2], os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644); err != nil {
		panic(err)
	}
	if strings.HasPrefix(os.Args[1], "/") {
		l, err = net.Listen("unix", os.Args[1])
	} else {
		l, err = net.Listen("tcp", "127.0.0.1:"+os.Args[1])
	}
	if err != nil {
		panic(err)
	}
	panic(http.Serve(l, http.HandlerFunc(handle)))
}
