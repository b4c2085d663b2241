package main

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// row is one line of the table. Bare and ratio are empty where there is nothing to compare with.
type row struct {
	what, ours, bare, ratio, budget string
}

// add puts a row into the table, and shows it at once to those who wait.
func (b *bench) add(r row) {
	b.rows = append(b.rows, r)
	fmt.Printf("%s: %s\n", r.what, r.ours)
}

// compare adds the medians of two series of durations.
func (b *bench) compare(what, budget string, ours, bare []time.Duration) {
	o, r := median(ours), median(bare)
	b.add(row{what, short(o), short(r), fmt.Sprintf("%.2f", float64(o)/float64(r)), budget})
}

func table(rows []row) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "WHAT\tOURS\tBARE\tRATIO\tBUDGET")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.what, r.ours, r.bare, r.ratio, r.budget)
	}
	w.Flush()
	return text.String()
}

func median(series []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(series))
	return sorted[len(sorted)/2]
}

// short is a duration in three digits.
func short(d time.Duration) string {
	switch {
	case d < time.Microsecond:
		return fmt.Sprintf("%d ns", d.Nanoseconds())
	case d < 10*time.Microsecond:
		return fmt.Sprintf("%.2f µs", float64(d)/float64(time.Microsecond))
	case d < time.Millisecond:
		return fmt.Sprintf("%.1f µs", float64(d)/float64(time.Microsecond))
	case d < time.Second:
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}
