//go:build tools

package opa

import (
	_ "github.com/open-policy-agent/opa"
)
