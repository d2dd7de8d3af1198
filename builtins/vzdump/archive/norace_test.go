//go:build !race

package archive

// raceDetector: every access to memory costs many times what it does otherwise.
const raceDetector = false
