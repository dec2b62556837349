package bridge

// largeMessage is the size from which on a message is not put together to be
// sent, but written from where it is, in bytes.
const largeMessage = 64 << 10

// pieces is how many bytes of it are gathered for one write.
const largeWriteSize = 128 << 10
