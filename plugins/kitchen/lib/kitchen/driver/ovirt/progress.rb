# frozen_string_literal: true

module Kitchen
  module Driver
    class Ovirt < Kitchen::Driver::Base
      # Tells on the console what an operation does, while it does it: each phase with the seconds since the beginning,
      # each position in the queue, a reminder where nothing new is to be told, and at the end how long each phase took.
      class Progress
        # Seconds without news after which a reminder is due.
        REMIND = 30

        # Shows an operation of `instance_name` by `say` while the block runs, which gets the Progress.
        def self.of(instance_name, say, remind: REMIND)
          progress = new(instance_name, say)
          reminding = Thread.new { loop { progress.remind if progress.silent?(remind) } }
          yield progress
        ensure
          reminding&.kill&.join
        end

        def initialize(instance_name, say)
          @instance_name = instance_name
          @say = say
          @started = @told = now
          @lock = Mutex.new
          @news = ConditionVariable.new
        end

        # Takes a snapshot of the operation.
        def show(operation)
          @lock.synchronize do
            before = @line
            @line = line(operation)
            @progress = operation.progress
            @verb = operation.verb
            tell(@line) if @line && @line != before
            @news.signal
          end
        end

        # Tells that nothing has changed, and for what the operation waits.
        def remind
          @lock.synchronize { tell("still #{@line}#{": #{@progress}" unless @progress.to_s.empty?}") if @line }
        end

        # Waits for news for so many seconds; true if there were none.
        def silent?(seconds)
          @lock.synchronize do
            before = @told
            @news.wait(@lock, seconds)
            @told == before && now - before >= seconds
          end
        end

        # How long the phases of an operation took, by the daemon's clock: `cloning 1.9 s, booting 4.0 s`.
        def self.durations(operation)
          operation.phases.select(&:end_time).map do |phase|
            format("%s %.1f s", phase.name, phase.end_time.to_f - phase.start_time.to_f)
          end.join(", ")
        end

        private

        def line(operation)
          return if operation.phase.empty?

          case operation.state
          when :STATE_UNDOING then "undoing"
          when :STATE_RUNNING
            operation.phase == "queued" ? "queued, #{operation.progress}" : operation.phase
          end
        end

        def tell(text)
          @told = now
          @say.call(format("%s %s... (%.0f s)", @instance_name, text, @told - @started))
        end

        def now
          Process.clock_gettime(Process::CLOCK_MONOTONIC)
        end
      end
    end
  end
end
