package bridge

// largeMessage is the size, in bytes, from which messages are written straight from the
// buffer they were read into, without a copy.
const largeMessage = 64 << 10

// largeWriteSize is the size of the writes of a large message, in bytes.
const largeWriteSize = 128 << 10
