# The image of both commands: two static binaries, certificates, nothing else.
# No syntax that needs BuildKit, so that any engine can build it.

FROM golang:1.26-alpine AS build
WORKDIR /src
# Modules first: they change less often than the code.
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags="-s -w" -o /out/ ./producer ./worker

FROM scratch
# https and rediss:// need to know whom to trust.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/ /usr/local/bin/
# By number, since there is no /etc/passwd to name it; nothing in the image belongs to it.
USER 65532:65532
# No ENTRYPOINT: the same image is the producer and the web UI.
CMD ["/usr/local/bin/worker"]
