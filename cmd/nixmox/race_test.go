//go:build race

package main

// raceDetector: every access to memory costs many times what it does otherwise.
const raceDetector = true
