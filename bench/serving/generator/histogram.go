package main

import (
	"math/bits"
	"time"
)

// Buckets of a width that is at most 1/128 of the time they hold.
const (
	exactBits = 7
	buckets   = (64 - exactBits) << exactBits
)

type histogram struct {
	counts [buckets]uint32
	total  int
	most   time.Duration
}

func (h *histogram) add(took time.Duration) {
	h.counts[bucket(uint64(max(took, 0)))]++
	h.total++
	h.most = max(h.most, took)
}

func (h *histogram) join(other *histogram) {
	for i, count := range other.counts {
		h.counts[i] += count
	}
	h.total += other.total
	h.most = max(h.most, other.most)
}

// Quantile in microseconds, the upper edge of its bucket; 0 if nothing was added.
func (h *histogram) quantile(share float64) float64 {
	rank, seen := int(share*float64(h.total)), 0
	for i, count := range h.counts {
		if seen += int(count); seen > 0 && seen >= rank {
			return min(float64(edge(i)), float64(h.most)) / 1e3
		}
	}
	return 0
}

func bucket(value uint64) int {
	if value < 1<<exactBits {
		return int(value)
	}
	shift := bits.Len64(value) - exactBits - 1
	return (shift+1)<<exactBits + int(value>>shift) - 1<<exactBits
}

func edge(i int) uint64 {
	if i < 1<<exactBits {
		return uint64(i)
	}
	shift := i>>exactBits - 1
	return (uint64(i-shift<<exactBits)+1)<<shift - 1
}
