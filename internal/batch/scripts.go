package batch

import (
	_ "embed"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed lua/create.lua
	createSrc    string
	createScript = redis.NewScript(createSrc)

	//go:embed lua/begin.lua
	beginSrc    string
	beginScript = redis.NewScript(beginSrc)

	//go:embed lua/record.lua
	recordSrc    string
	recordScript = redis.NewScript(recordSrc)

	//go:embed lua/crash.lua
	crashSrc    string
	crashScript = redis.NewScript(crashSrc)

	//go:embed lua/rest.lua
	restSrc    string
	restScript = redis.NewScript(restSrc)

	//go:embed lua/note.lua
	noteSrc    string
	noteScript = redis.NewScript(noteSrc)

	//go:embed lua/checkpoint.lua
	checkpointSrc    string
	checkpointScript = redis.NewScript(checkpointSrc)

	//go:embed lua/seal.lua
	sealSrc    string
	sealScript = redis.NewScript(sealSrc)

	//go:embed lua/stop.lua
	stopSrc    string
	stopScript = redis.NewScript(stopSrc)

	//go:embed lua/take.lua
	takeSrc    string
	takeScript = redis.NewScript(takeSrc)

	//go:embed lua/trim.lua
	trimSrc    string
	trimScript = redis.NewScript(trimSrc)

	//go:embed lua/lease.lua
	leaseSrc    string
	leaseScript = redis.NewScript(leaseSrc)

	//go:embed lua/release.lua
	releaseSrc    string
	releaseScript = redis.NewScript(releaseSrc)
)
