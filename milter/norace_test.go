//go:build !race

package milter

// maxCostRatio is how many times the CPU time of an ordinary message another may take.
const maxCostRatio = 2
