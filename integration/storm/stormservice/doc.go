// Package stormservice is generated from storm.thrift, but for this file: see make generate.
package stormservice
