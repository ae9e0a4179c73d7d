// Reader reads a ledger over HTTP as any client of C2SP tlog-tiles does, and believes nothing that the checkpoint does not prove.
//
//	reader -log http://127.0.0.1:9901/ledger/ -policy FILE [-since CHECKPOINT]
//
// The policy is torchwood's (that of Tessera): the log's key, witnesses, a quorum. VIDIMUS_OPERATOR_TOKEN is sent as the bearer token.
// It prints each record on a line, and what it has proven as JSON on the last one.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"
)

type bearer struct{ token string }

func (b bearer) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	request.Header.Set("Authorization", "Bearer "+b.token)
	return http.DefaultTransport.RoundTrip(request)
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func main() {
	base := flag.String("log", "", "prefix of the log")
	policyFile := flag.String("policy", "", "who must have signed")
	since := flag.String("since", "", "an older checkpoint that the log must continue")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	policy := must(torchwood.ParsePolicy(must(os.ReadFile(*policyFile))))
	transport := &http.Client{Transport: bearer{os.Getenv("VIDIMUS_OPERATOR_TOKEN")}, Timeout: 20 * time.Second}
	fetcher := must(torchwood.NewTileFetcher(*base, torchwood.WithHTTPClient(transport), torchwood.WithConcurrencyLimit(4)))
	checkpoint, note, err := torchwood.VerifyCheckpoint(must(fetcher.ReadEndpoint(ctx, "checkpoint")), policy)
	if err != nil {
		log.Fatal(err)
	}
	client := must(torchwood.NewClient(fetcher))
	entries := int64(0)
	for index, entry := range client.AllEntries(ctx, checkpoint.Tree, 0) {
		if index != entries {
			log.Fatalf("entry %d where %d was to come", index, entries)
		}
		entries++
		fmt.Println(string(entry))
	}
	if err := client.Err(); err != nil {
		log.Fatal(err)
	}
	for index := int64(0); index < checkpoint.N; index += checkpoint.N/7 + 1 {
		if _, _, err := client.Entry(ctx, checkpoint.Tree, index); err != nil {
			log.Fatal(err)
		}
	}
	continues := int64(-1)
	if *since != "" {
		// Of the same log, whoever cosigned it.
		older := must(torchwood.ParseCheckpoint(textOf(must(os.ReadFile(*since)))))
		hashes := torchwood.TileHashReaderWithContext(ctx, checkpoint.Tree, fetcher)
		proof := must(tlog.ProveTree(checkpoint.N, older.N, hashes))
		if err := tlog.CheckTree(proof, checkpoint.N, checkpoint.Hash, older.N, older.Hash); err != nil {
			log.Fatal(err)
		}
		continues = older.N
	}
	said := map[string]any{"size": checkpoint.N, "entries": entries, "signatures": len(note.Sigs), "continues": continues}
	fmt.Println(string(must(json.Marshal(said))))
}

// textOf is what a note says, whoever signed it.
func textOf(note []byte) string {
	for at := len(note) - 2; at > 0; at-- {
		if note[at] == '\n' && note[at-1] == '\n' {
			return string(note[:at])
		}
	}
	log.Fatal("not a note")
	return ""
}
