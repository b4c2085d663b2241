// Package testservice is generated from test_service.thrift, but for this file: see make generate.
package testservice
