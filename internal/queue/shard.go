package queue

import (
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// MaxShards is the most queues that the new tasks of a lane may be spread over.
const MaxShards = 64

// maxNumber is the greatest in the name of a shard's queue. Of every 2 x MaxShards numbers one is
// right for each part of the slots: the greatest that Shards needs is some 500.
const maxNumber = 9999

// Lane is the lane whose tasks a queue holds. A lane of one queue has that of its own name;
// the further ones are called lane:NUMBER. A queue with a number that Shards does not give is
// a lane of its own.
func Lane(queue string) string {
	lane, text, sharded := strings.Cut(queue, ":")
	number, err := strconv.Atoi(text)
	if !sharded || lane == "" || err != nil || number < 1 || number > maxNumber || strconv.Itoa(number) != text {
		return queue
	}
	return lane
}

// Lanes are the lanes of queues, in order, each once.
func Lanes(queues []string) []string {
	lanes := make([]string, len(queues))
	for i, q := range queues {
		lanes[i] = Lane(q)
	}
	slices.Sort(lanes)
	return slices.Compact(lanes)
}

// ByLane are those of queues that are of each lane, in order.
func ByLane(queues []string) map[string][]string {
	by := make(map[string][]string)
	for _, q := range queues {
		by[Lane(q)] = append(by[Lane(q)], q)
	}
	for _, of := range by {
		slices.Sort(of)
	}
	return by
}

// Known are all queues there are, of whatever lanes.
func Known(ctx context.Context, rdb redis.UniversalClient) ([]string, error) {
	queues, err := rdb.SMembers(ctx, All).Result()
	if err != nil {
		return nil, fmt.Errorf("list queues: %w", err)
	}
	return queues, nil
}

// slots is how many a Redis Cluster has.
const slots = 1 << 14

// Shards are the queues that the new tasks of a lane go to that is spread over n. The first
// is that of the lane's name. The numbers of the others are such that of n equal parts of
// a Cluster's slots each has one queue, near the middle but for the first: masters with as
// many slots have as many queues, wherever n can be divided by their number.
func Shards(lane string, n int) []string {
	queues := make([]string, n)
	first := part(crc16(0, lane), n)
	queues[0] = lane
	begun := crc16(0, lane+":")
	for number, left := 1, n-1; left > 0; number++ {
		text := strconv.Itoa(number)
		slot := crc16(begun, text) % slots
		within := int(slot) * n % slots
		at := (part(slot, n) - first + n) % n
		if queues[at] == "" && within >= slots/4 && within < 3*slots/4 {
			queues[at] = lane + ":" + text
			left--
		}
	}
	return queues
}

// part is in which of n equal parts of all slots one is.
func part(slot uint16, n int) int { return int(slot%slots) * n / slots }

// crc16 goes on with the checksum that a Cluster's slots are found by.
func crc16(sum uint16, text string) uint16 {
	for _, b := range []byte(text) {
		sum ^= uint16(b) << 8
		for range 8 {
			if sum&0x8000 != 0 {
				sum = sum<<1 ^ 0x1021
			} else {
				sum <<= 1
			}
		}
	}
	return sum
}

// Pick is the one of a lane's queues that the task of an ID goes to: of the same queues
// always the same.
func Pick(queues []string, id string) string {
	if len(queues) == 1 {
		return queues[0]
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(id))
	sum := h.Sum64()
	sum ^= sum >> 32
	return queues[sum%uint64(len(queues))]
}

// Holder tells for each of the tasks by which queues they may have a record, in which of them
// it is; "" for none.
func Holder(ctx context.Context, rdb redis.UniversalClient, tasks []Sought) ([]string, error) {
	holder := make([]string, len(tasks))
	pipe := rdb.Pipeline()
	there := make([][]*redis.IntCmd, len(tasks))
	for i, t := range tasks {
		for _, q := range t.Queues {
			there[i] = append(there[i], pipe.Exists(ctx, TaskPrefix(q)+t.ID))
		}
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("look where %d tasks are: %w", len(tasks), err)
	}
	for i := range there {
		for k, cmd := range there[i] {
			if cmd.Val() > 0 {
				holder[i] = tasks[i].Queues[k]
			}
		}
	}
	return holder, nil
}

// Sought is a task, and the queues it may be in.
type Sought struct {
	ID     string
	Queues []string
}
