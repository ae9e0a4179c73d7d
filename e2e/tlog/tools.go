//go:build tools

package tlog

import (
	_ "filippo.io/torchwood/cmd/litewitness"
)
