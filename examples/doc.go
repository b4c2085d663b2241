// Package examples holds pages for other languages, each one file that reads deciders and managed lists and hears of their changes. Its
// tests run them all, on plain files and on a real mount.
package examples
