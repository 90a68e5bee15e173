package main

import "io"

// surface is an input that a stranger controls.
type surface struct {
	name   string
	parts  []part
	knobs  []knob
	limits limits
	// start makes what takes the inputs.
	start func() (bench, error)
	// ordinary is an honest input of that size that in is held against.
	ordinary func(in input, octets int) input
	slow     bool // an input takes long
	// known are inputs that were above a limit once, as String writes them. They are tried first.
	known []string
	// kin names the ordinary inputs that in is held against: as many signatures, say.
	kin func(input) string
}

// part is text within an input, made of atoms.
type part struct {
	name   string
	atoms  []string
	octets int // at most
}

// knob is a choice among so many values.
type knob struct {
	name   string
	values int
}

// input is what a surface is given: the text of each part, and the knobs.
type input struct {
	texts    []string
	knobs    []int
	ordinary bool // made by surface.ordinary
}

// bench takes inputs and measures.
type bench interface {
	// run takes one input, has what it costs measured, and says how many octets its sender had to
	// send. The error is the bench's own.
	run(in input, m meter) (u use, octets int, err error)
	// meter is the one for CPU time.
	meter() meter
	io.Closer
}

// surfaces are all that are searched.
func surfaces() []*surface {
	return append(parsers(), messageSurface(), answerSurface(), peerSurface())
}

func alone(input) string { return "" }
