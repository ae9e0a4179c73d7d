//go:build tools

package kyverno

import (
	_ "github.com/kyverno/kyverno/cmd/cli/kubectl-kyverno"
)
