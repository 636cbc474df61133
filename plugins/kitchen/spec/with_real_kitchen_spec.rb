# frozen_string_literal: true

require "open3"

# The `kitchen` command with the driver, where Test Kitchen is installed.
RSpec.describe "kitchen with the driver", :real_kitchen do
  around do |example|
    path = File.join(folder, "daemon.sock")
    File.write(File.join(folder, "kitchen.yml"), <<~YAML)
      driver: {name: ovirt}
      transport: {name: dummy}
      provisioner: {name: dummy}
      verifier: {name: dummy}
      platforms: [{name: debian-12}]
      suites: [{name: a}, {name: b}, {name: c}, {name: d}]
    YAML
    Support::FakeDaemon.serve(path) do |fake|
      @fake = fake
      with_environment("OVIRT_PROVISION_ADDRESS" => "unix:#{path}", "OVIRT_URL" => "") { example.run }
    end
  end

  let(:fake) { @fake }
  let(:command) do
    [RbConfig.ruby, *$LOAD_PATH.grep_v(/stand_in/).map do |path|
                      "-I#{path}"
                    end, "-rtime", "-rkitchen", "-rkitchen/cli", "-e", "Kitchen::CLI.start(ARGV)", "--"]
  end

  def kitchen(*arguments)
    Open3.capture2e(*command, *arguments, chdir: folder)
  end

  it "tests four instances at the same time" do
    said, status = kitchen("test", "-c", "4")
    expect(status).to be_success, said
    expect([fake.requests(:CreateMachine), fake.requests(:ConfirmMachine),
            fake.requests(:DestroyMachine)].map do |requests|
             requests.map(&:key).uniq.size
           end)
      .to eq([4, 4, 4])
    expect(Dir.glob(File.join(folder, ".kitchen/*.{yml,pem}"))).to be_empty
  end

  it "shows on the console what was wrong" do
    fake.on(:CreateMachine) do
      fake.refuse(3, message: "refused",
                     violations: [{ field: "spec.cluster", description: "no cluster 'x'" }])
    end
    said, status = kitchen("create", "^a")
    expect(status).not_to be_success
    expect(said).to include("* cluster: no cluster 'x'")
  end

  %w[INT TERM].each do |signal|
    it "cancels what #{signal} interrupts, and can destroy it" do
      begun = Queue.new
      fake.on(:WatchOperation) do
        Enumerator.new do |replies|
          (replies << fake.watch(fake.success).first) && begun.push(true) && sleep
        end
      end
      Open3.popen2e(*command, "create", "-c", "2", "a|b", chdir: folder) do |_, output, waiting|
        2.times { begun.pop }
        Process.kill(signal, waiting.pid)
        output.read
        expect(waiting.value).not_to be_success
      end
      expect(fake.requests(:CancelOperation).size).to eq(2)
      expect(kitchen("destroy").last).to be_success
      expect(fake.requests(:DestroyMachine).map(&:key)).to match_array(fake.requests(:CreateMachine).map(&:key))
    end
  end

  it "lists whether the machines live" do
    skip("needs Test Kitchen 4.1") unless Kitchen::Driver::Base.method_defined?(:status)
    kitchen("create", "^a")
    said, = kitchen("list", "--live")
    expect(said).to match(/^a-debian-12.* up$/).and match(/^b-debian-12.*not created$/)
  end

  it "lists without asking the daemon" do
    expect(kitchen("list").last).to be_success
    expect(fake.asked).to be_empty
  end
end
