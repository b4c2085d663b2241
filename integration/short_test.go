//go:build !soak

package integration

// soaking is set by the build tag of the tests that are too long for every change.
const soaking = false
