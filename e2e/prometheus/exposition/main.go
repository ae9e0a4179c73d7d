// What Prometheus reads in an exposition on standard input, by the parser that it scrapes with: `exposition CONTENT-TYPE`. Prints JSON; exits 1 where
// Prometheus would take nothing of it.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
)

type found struct {
	Series    map[string]string `json:"series"`
	Types     map[string]string `json:"types"`
	Exemplars map[string]string `json:"exemplars"`
}

func read(text []byte, contentType string) (found, error) {
	all := found{map[string]string{}, map[string]string{}, map[string]string{}}
	parser, err := textparse.New(text, contentType, labels.NewSymbolTable(), textparse.ParserOptions{})
	if err != nil {
		return all, err
	}
	for {
		entry, err := parser.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		switch entry {
		case textparse.EntryType:
			name, kind := parser.Type()
			all.Types[string(name)] = string(kind)
		case textparse.EntrySeries:
			name, _, value := parser.Series()
			if _, is := all.Series[string(name)]; is {
				return all, fmt.Errorf("%s is there twice", name)
			}
			all.Series[string(name)] = strconv.FormatFloat(value, 'g', -1, 64)
			var example exemplar.Exemplar
			if parser.Exemplar(&example) {
				all.Exemplars[string(name)] = example.Labels.String()
			}
		}
	}
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: exposition CONTENT-TYPE")
		os.Exit(2)
	}
	text, err := io.ReadAll(os.Stdin)
	if err == nil {
		var all found
		if all, err = read(text, os.Args[1]); err == nil {
			err = json.NewEncoder(os.Stdout).Encode(all)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
