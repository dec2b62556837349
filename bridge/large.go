package bridge

// largeMessage is the size, in bytes, from which on a message is written from the
// buffer it was read into, without a copy.
const largeMessage = 64 << 10

// largeWriteSize is the size of the writes of a large message, in bytes.
const largeWriteSize = 128 << 10
