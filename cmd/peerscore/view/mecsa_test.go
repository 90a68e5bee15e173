package view

import (
	"math"
	"testing"

	"peerscore/assess"
)

func TestMECSAFigures(t *testing.T) {
	for _, c := range assess.Categories {
		sum := 0.0
		for _, share := range mecsaStars[c] {
			sum += share
		}
		if math.Abs(sum-100) > 0.05 {
			t.Errorf("%s: the shares are %.2f %% together", c, sum)
		}
	}
}
