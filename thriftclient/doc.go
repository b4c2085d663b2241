// Package thriftclient faces Thrift servers.
package thriftclient
