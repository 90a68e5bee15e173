package daemon

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Counter is one of the daemon's metrics, without the prefix of its name.
type Counter struct {
	Name  string
	Value float64
}

// ReadCounters reads the counters of a daemon from its metrics.
func ReadCounters(ctx context.Context, address string) ([]Counter, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // no proxy from the environment
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it says %s", response.Status)
	}
	const most = 1 << 20
	var counters []Counter
	for lines := bufio.NewScanner(io.LimitReader(response.Body, most)); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		number, err := strconv.ParseFloat(value, 64)
		if name, ours := strings.CutPrefix(name, "peerscore_"); ours && err == nil {
			counters = append(counters, Counter{name, number})
		}
	}
	return counters, nil
}
