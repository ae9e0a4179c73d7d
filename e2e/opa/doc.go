// Package opa pins Open Policy Agent, for e2e/opa.
package opa
