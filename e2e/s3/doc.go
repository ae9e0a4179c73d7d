// Package s3 names the version of a real S3-compatible store, for the tests of archives.
package s3
