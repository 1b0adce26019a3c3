// Command bench measures weir beside raw asynq, on the same Redis, each in processes of
// its own, and prints the ratios. Machines are noisy and shared: both are
// measured in turns, and a row's figure is the median of the turns' ratios.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"strings"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) > 2 && os.Args[1] == roleArg {
		play(os.Args[2], os.Args[3:])
		return
	}
	only := flag.String("only", "", "measure the rows whose name contains this")
	turns := flag.Int("turns", 5, "how often each row is measured")
	share := flag.Float64("share", 1, "of each row's number of tasks")
	scale := flag.Bool("curves", false, "measure how rate and cost grow with workers, lanes, window and payload, and print them as CSV")
	kept := flag.String("check", "", "a file of ratios: measure these rows, and fail where one has lost more than 15%")
	flag.Parse()
	b, err := newBench(*turns, *share)
	if err != nil {
		b.close()
		log.Fatal(err)
	}
	defer b.close()
	if *scale {
		if err := b.draw(os.Stdout); err != nil {
			b.close()
			log.Fatal(err)
		}
		return
	}
	if *kept != "" {
		err := b.check(*kept)
		fmt.Print(b.table())
		if err != nil {
			b.close()
			log.Fatal(err)
		}
		return
	}
	for _, r := range rows {
		if !strings.Contains(r.name, *only) {
			continue
		}
		if err := b.measure(r); err != nil {
			b.close()
			log.Fatalf("%s: %v", r.name, err)
		}
	}
	fmt.Print(b.table())
}
