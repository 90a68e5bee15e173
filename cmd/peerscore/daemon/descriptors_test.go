package daemon

import "testing"

func TestShareOfDescriptors(t *testing.T) {
	for descriptors, want := range map[uint64]places{
		16: {1, 2}, 64: {15, 6}, 256: {135, 54}, 1024: {500, 246}, 4096: {500, 1014}, 1 << 63: {500, 16374},
	} {
		if got := placesFor(descriptors); got != want {
			t.Errorf("of %d: %+v, want %+v", descriptors, got, want)
		}
	}
}
