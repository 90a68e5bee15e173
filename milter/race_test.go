//go:build race

package milter

// maxCostRatio is wider here: what the race detector costs depends on what it watches.
const maxCostRatio = 4
