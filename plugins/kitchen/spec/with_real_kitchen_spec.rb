# frozen_string_literal: true

# The `kitchen` command with the driver, where Test Kitchen is installed.
RSpec.describe "kitchen with the driver", :real_kitchen do
  include_context "with a fake daemon"

  before do
    File.write(File.join(folder, "kitchen.yml"), <<~YAML)
      driver: {name: ovirt}
      transport: {name: dummy}
      provisioner: {name: dummy}
      verifier: {name: dummy}
      platforms: [{name: debian-12}]
      suites: [{name: a}, {name: b}, {name: c}, {name: d}]
    YAML
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
      Open3.popen2e(*kitchen_command, "create", "-c", "2", "^[ab]-", chdir: folder) do |_, output, waiting|
        2.times { begun.pop }
        Process.kill(signal, waiting.pid)
        output.read
        expect(waiting.value).not_to be_success
      end
      expect(fake.requests(:CancelOperation).size).to eq(2)
      expect(kitchen("destroy", "^[ab]-").last).to be_success
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

RSpec.describe "kitchen with the driver and the daemon that it starts", :real_kitchen, :daemon do
  around do |example|
    File.write(File.join(folder, "kitchen.yml"), <<~YAML)
      driver: {name: ovirt}
      transport: {name: dummy}
      provisioner: {name: dummy}
      verifier: {name: dummy}
      platforms: [{name: debian-12}]
      suites:
        - name: good
        - name: wrong
          driver: {template: debain-12, cluster: Defualt, nics: [{name: nic1, vnic_profile: ovirtmgnt}]}
    YAML
    with_environment(stage.environment) { example.run }
  end

  let(:stage) { Support::Stage.shared }
  let(:state_file) { File.join(folder, ".kitchen/good-debian-12.yml") }

  # The VMs of this project.
  def machines
    stage.census.select { |entry| entry.kind == "vm" && [key("good"), key("wrong")].include?(entry.key) }
  end

  def key(suite)
    Kitchen::Driver::Ovirt::Identity.key("#{suite}-debian-12", folder)
  end

  it "tells all wrong references at once, with near misses, and makes nothing" do
    said, status = kitchen("create", "wrong")
    expect(status).not_to be_success
    expect(said).to include("* template: no template 'debain-12'; did you mean 'debian-12'?",
                            "* cluster: no cluster 'Defualt'; did you mean 'Default'?",
                            "* nics[0].vnic_profile: no vNIC profile 'ovirtmgnt'; did you mean 'ovirtmgmt'?")
    expect(machines).to be_empty
    expect(kitchen("destroy", "wrong").last).to be_success
  end

  it "forgets nothing while no daemon is there, and destroys twice" do
    expect(kitchen("create", "good").last).to be_success
    with_environment("OVIRT_PROVISION_ADDRESS" => "unix:/nowhere/daemon.sock") do
      said, status = kitchen("destroy", "good")
      expect(status).not_to be_success
      expect(said).to include("no daemon listens at unix:/nowhere/daemon.sock", "ovirt-provision serve")
    end
    expect(File.read(state_file)).to include(key("good"))
    expect(machines.size).to eq(1)
    2.times { expect(kitchen("destroy", "good").last).to be_success }
    expect(machines).to be_empty
    expect(File).not_to exist(state_file)
  end

  it "destroys what somebody else has destroyed" do
    kitchen("create", "good")
    stage.destroy(key("good"))
    said, status = kitchen("destroy", "good")
    expect(status).to be_success, said
    expect(File).not_to exist(state_file)
  end

  it "can destroy what a killed kitchen has begun" do
    Open3.popen2e(*kitchen_command, "create", "good", chdir: folder) do |_, output, waiting|
      output.each_line.find { |line| line.include?("cloning...") }
      Process.kill("KILL", waiting.pid)
      output.read
      expect(waiting.value.termsig).to eq(9)
    end
    expect(stage.machine(key("good")).lease.kind).to eq(:KIND_SESSION)
    expect(kitchen("destroy").last).to be_success
    expect(machines).to be_empty
  end
end
