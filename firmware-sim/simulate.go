package main

import (
	"flag"
	"fmt"
	"io"
	"text/tabwriter"

	"aftercare/firmware-sim/internal/life"
)

func runKinds(args []string, out io.Writer) error {
	fs := flag.NewFlagSet("kinds", flag.ContinueOnError)
	err := parse(fs, args, out, "firmware-sim kinds lists what a truth file may name: faults, parts at the end of their life, habits and healthy oddities,\n"+
		"with what counts as onset and as failure.")
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "KIND\tSORT\tMODEL\tCOMPONENT\tCODE\tONSET\tFAILURE")
	for _, k := range life.Kinds() {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", k.Name, k.Sort(), k.Model, k.Component, k.Code, k.Onset, k.Failure)
	}
	return w.Flush()
}
