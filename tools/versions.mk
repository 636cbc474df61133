# Versions that no lock file holds. The others: requirements.lock (Python), plugins/go.mod (Go, what ships),
# tools/packer/go.mod (packer), tools/protoc/go.mod (the Go generators).

# Brings buf/validate/validate.proto, which our schema imports.
PROTOVALIDATE_VERSION := v1.2.2

# Writes the Ruby code of the schema; Debian's own protoc writes what google-protobuf 4 cannot load.
RUBY_PROTOC_VERSION := 3.25.8

# Writes requirements.lock (`make lock`).
UV_VERSION := 0.13.9
