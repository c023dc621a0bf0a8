package main

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// Counted is what a run prints. Microseconds are those of the answers that were good.
type counted struct {
	Requests  int            `json:"requests"`
	Failures  map[string]int `json:"failures"`
	Seconds   float64        `json:"seconds"`
	P50       float64        `json:"p50_us"`
	P99       float64        `json:"p99_us"`
	Max       float64        `json:"max_us"`
	Unsent    int            `json:"unsent"`
	Reconnect int            `json:"reconnects"`
}

type run struct {
	dial        dialer
	connections int
	begin, end  time.Time // what is due in between counts
	mutex       sync.Mutex
	times       histogram
	counted     counted
	lastAnswer  time.Time
}

func newRun(dial dialer, connections int, warmup, seconds float64) *run {
	begin := time.Now().Add(time.Duration(warmup * float64(time.Second)))
	return &run{
		dial: dial, connections: connections,
		begin: begin, end: begin.Add(time.Duration(seconds * float64(time.Second))),
		counted: counted{Failures: map[string]int{}},
	}
}

func (r *run) do(rate float64, seed uint64) counted {
	next := r.closedLoop
	if rate > 0 {
		due := make(chan time.Time, 1<<16)
		go r.arrivals(rate, seed, due)
		next = func() (time.Time, bool) { at, more := <-due; return at, more }
	}
	var workers sync.WaitGroup
	for range r.connections {
		workers.Go(func() { r.work(next) })
	}
	workers.Wait()
	r.counted.Seconds = max(r.end.Sub(r.begin), r.lastAnswer.Sub(r.begin)).Seconds()
	r.counted.P50, r.counted.P99, r.counted.Max = r.times.quantile(0.5), r.times.quantile(0.99), r.times.quantile(1)
	return r.counted
}

func (r *run) closedLoop() (time.Time, bool) {
	now := time.Now()
	return now, now.Before(r.end)
}

// Arrivals says when requests are due, from now to the end. The buffer is what may wait for a free connection.
func (r *run) arrivals(rate float64, seed uint64, due chan<- time.Time) {
	runtime.LockOSThread()
	random := rand.New(rand.NewPCG(seed, 0))
	for at := time.Now(); ; {
		at = at.Add(time.Duration(random.ExpFloat64() / rate * float64(time.Second)))
		if at.After(r.end) {
			break
		}
		if wait := time.Until(at); wait > 0 {
			// Go's own timers may come a millisecond late.
			_ = syscall.Nanosleep(&syscall.Timespec{Nsec: int64(wait) % 1e9, Sec: int64(wait / 1e9)}, nil)
		}
		select {
		case due <- at:
		default:
			r.unsent(at)
		}
	}
	close(due)
}

// Work is the life of one connection, and of those that follow it when the server hangs up.
func (r *run) work(next func() (time.Time, bool)) {
	mine := worker{failures: map[string]int{}}
	var connected connection
	defer func() {
		if connected != nil {
			connected.close()
		}
	}()
	for {
		due, more := next()
		if !more {
			break
		}
		if connected == nil {
			var err error
			if connected, err = r.dial(); err != nil {
				mine.count(r, due, "not connected: "+reason(err))
				time.Sleep(time.Millisecond)
				continue
			}
		}
		refusal, err := connected.exchange()
		if err != nil && !errors.Is(err, errHangsUp) {
			refusal = "no answer: " + reason(err)
		}
		mine.count(r, due, refusal)
		if err != nil {
			connected.close()
			connected = nil
			mine.reconnects++
		}
	}
	mine.addTo(r)
}

func (r *run) unsent(at time.Time) {
	if at.Before(r.begin) {
		return
	}
	r.mutex.Lock()
	r.counted.Unsent++
	r.mutex.Unlock()
}

// What one connection saw; joined with the others' at the end, so that no lock is taken meanwhile.
type worker struct {
	requests, reconnects int
	failures             map[string]int
	times                histogram
	last                 time.Time
}

func (w *worker) count(r *run, due time.Time, refusal string) {
	now := time.Now()
	if due.Before(r.begin) {
		if refusal != "" {
			w.failures["while warming up, "+refusal]++
		}
		return
	}
	w.requests++
	w.last = now
	if refusal != "" {
		w.failures[refusal]++
		return
	}
	w.times.add(now.Sub(due))
}

func (w *worker) addTo(r *run) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.counted.Requests += w.requests
	r.counted.Reconnect += w.reconnects
	for refusal, count := range w.failures {
		r.counted.Failures[refusal] += count
	}
	r.times.join(&w.times)
	if w.last.After(r.lastAnswer) {
		r.lastAnswer = w.last
	}
}

// The kernel's word for it, without addresses and ports, so that the same reasons add up.
func reason(err error) string {
	var number syscall.Errno
	switch {
	case errors.As(err, &number):
		return number.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "closed"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "timed out"
	}
	return err.Error()
}
