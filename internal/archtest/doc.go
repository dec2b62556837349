// Package archtest holds the rules of this repository that a compiler does not
// know: who may import whom, and what no file may do. It has tests only; a rule
// says its reason when it is broken.
package archtest
