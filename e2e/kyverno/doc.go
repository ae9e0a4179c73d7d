// Package kyverno names the version of Kyverno's command line, for the tests of admission.
package kyverno
